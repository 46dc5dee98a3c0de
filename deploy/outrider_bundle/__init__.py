"""The contract: manifest, container, signatures, messages, topics, errors and the dispatcher."""
