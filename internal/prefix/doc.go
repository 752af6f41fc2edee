// Package prefix groups IP addresses by who most likely controls them, and counts what
// each group uses. Identities are free, addresses are not: what is scarce is shared by
// group (docs/adr/0024-shared-by-prefix.md).
package prefix
