"""Who used what, and where its joules go: pure, without sockets and files."""
