"""A package, so that a library that installs a package of this name (PyRSMQ does) cannot take its place."""
