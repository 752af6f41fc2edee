// Package api tests the HTTP API from outside: requests of every kind that its specification
// allows and forbids (schemathesis), the examples and recipes for Python and R in docs/recipes.md,
// and the figures of contrib/paper. It needs a Python with test/api/requirements.txt and those of
// contrib/paper: `make fuzz-api` makes one.
package api
