// Package api tests the HTTP API from outside: requests of every kind that its specification
// allows and forbids (schemathesis), and the examples for Python and R in docs/recipes.md. It
// needs a Python with test/api/requirements.txt: `make fuzz-api` makes one.
package api
