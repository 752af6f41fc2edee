// Package enr decodes Ethereum node records (EIP-778) and the consensus entries
// in them. A malformed entry is reported along with the rest and never hides it.
package enr
