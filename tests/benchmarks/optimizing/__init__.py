"""What the optimiser finds on the starter shelf, beside fixed recipes and beside Olive, as ratios of one run.

For each model that is not already in int8 the whole job runs twice, for the fastest and for the smallest
variant, with a loss of one point allowed. Then all contenders for a model are timed in turns in one process
and judged by the same held-back rows and the same metric, whoever made them.
"""
