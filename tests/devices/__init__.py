"""Tests of code for devices on a machine that has none."""
