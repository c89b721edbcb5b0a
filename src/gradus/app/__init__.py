"""The door: parses, draws, reports, exports. It holds no mathematics and imports torch only inside verbs."""
