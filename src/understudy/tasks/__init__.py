"""What is asked, what is right, and the one interface that everything answering has."""
