package federation

import (
	"strings"
	"unicode/utf8"

	"github.com/grange-grid/grange/pure/charter"
)

// labelMark stands between the two names in a label.
const labelMark = " @ "

// noName stands for a machine without a name where a label needs one.
const noName = "-"

// label makes the name under which a machine stands in the charter: what it is called
// and what its household is, or only the latter where the two do not fit.
func label(machine, household string) string {
	room := charter.NameSizeMax - len(labelMark) - len(household)
	for len(machine) > max(room, 0) {
		_, size := utf8.DecodeLastRuneInString(machine)
		machine = machine[:len(machine)-size]
	}
	machine = strings.TrimSpace(machine)
	if machine == "" || strings.Contains(machine, labelMark) || !isPrintable(machine, charter.NameSizeMax) {
		if !strings.Contains(household, labelMark) || room < len(noName) {
			return household
		}
		machine = noName // so that the household's name is not taken apart
	}
	return machine + labelMark + household
}

// parseLabel takes a label apart; machine is empty where it has no name.
func parseLabel(text string) (machine, household string) {
	machine, household, ok := strings.Cut(text, labelMark)
	if !ok {
		return "", text
	}
	if machine == noName {
		machine = ""
	}
	return machine, household
}
