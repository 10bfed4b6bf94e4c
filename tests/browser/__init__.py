"""Tests of the stand-in's page and of the extension's controls, in a browser."""
