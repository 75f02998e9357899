"""Text from a GGUF: the file is checked first, llama.cpp runs in a child process, prompts and sampling are plain data."""
