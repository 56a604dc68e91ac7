"""The texts that models are asked with, a file a version: what is out never changes."""
