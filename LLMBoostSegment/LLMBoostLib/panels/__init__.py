"""The Segment panel and the views that both panels have."""
