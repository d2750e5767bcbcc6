"""Recordings and streams of sound: read, resampled, written, and what is said in them."""
