"""Work of CR-Diff that runs as one of the host's own jobs: how it stands, its place in the queue, its API routes."""
