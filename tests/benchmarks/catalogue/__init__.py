"""Search and pages over a million generated listings, beside other engines in the same run."""
