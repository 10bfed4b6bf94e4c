"""The parts behind the hosts' public ``modules``: nothing here is meant to be imported by an extension."""
