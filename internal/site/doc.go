// Package site writes the public view as static files: the dashboard's page, and the answers of
// the API that it shows. Any file server can serve them, also below a path. "A public site" in
// docs/operations.md has the layout, and how readers never see half of an update.
package site
