// Package loglimit limits how often an ongoing problem is logged.
package loglimit
