"""What runs embedded in a demonstration: a model server, and a way to serve any app for a while."""
