"""Training on local cases, the Slicer side: snapshots of cases, which label each segment is, and a run's life."""
