"""What packaging costs, side by side: with a plain `docker run`, with the classic builder, with itself.

Everything that comes from the network is there beforehand; images are made and loaded for real, and each
is asked until it gives its first good answer.
"""
