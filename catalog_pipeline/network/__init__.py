"""Connections to the outside: which addresses may be dialled, how long anything may take."""
