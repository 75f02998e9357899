"""The shapes of OpenAI's interface: models, chat, completions, embeddings."""
