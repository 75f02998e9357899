"""From a Hugging Face checkpoint folder to a .gguf that llama.cpp and Ollama open as it is."""
