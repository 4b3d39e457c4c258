"""One cluster and one workload over every CNI mode: proved, measured, told side by side."""
