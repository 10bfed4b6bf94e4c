"""Driving a WebUI over HTTP for the acceptance tests."""
