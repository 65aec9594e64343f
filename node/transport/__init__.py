"""Links between nodes: the Noise channel inside WebSocket messages, both ends, and who dials whom
when.
"""
