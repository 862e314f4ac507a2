"""Helpers that several packages use: config, checks, errors, files, console, progress, parallel work, resizing."""
