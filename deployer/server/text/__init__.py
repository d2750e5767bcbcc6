"""Texts: tokens, features, and how they are said."""
