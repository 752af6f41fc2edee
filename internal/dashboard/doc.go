// Package dashboard serves the page that shows what the API knows. Its source is web/;
// `make web` builds the files in files/, which are compressed already.
package dashboard
