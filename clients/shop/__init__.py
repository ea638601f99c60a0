"""An application for django_client.py: a model with every type of field, and some that refer to each other."""
