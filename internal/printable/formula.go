package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// NoFormula puts an apostrophe before a cell that a spreadsheet would evaluate: nodes choose
// what they call themselves. Numbers stay.
func NoFormula(cell string) string {
	first, _ := utf8.DecodeRuneInString(cell)
	if cell == "" || !strings.ContainsRune("=+-@＝＋－＠", first) && !unicode.IsControl(first) {
		return cell
	}
	if _, err := strconv.ParseFloat(cell, 64); err == nil {
		return cell
	}
	return "'" + cell
}
