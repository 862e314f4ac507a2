"""One command for a GPU, ``make gpu``: equality with the CPU, times, memory and reproducibility, in one table."""
