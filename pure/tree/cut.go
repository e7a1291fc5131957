package tree

// cut returns where nodes begin in a run of entries of one level, 0 being the first. Before and behind the run are cuts
// of lower priority than all within it, or an end. A key begins a node where, with the one before which stands nothing
// lower, more than FanMax entries have no lower priority than it has.
func cut(all []priority) []int {
	left, right := make([]int, len(all)), make([]int, len(all))
	var stack []int // of rising priority
	for i := range all {
		for len(stack) > 1 && all[i].less(all[stack[len(stack)-1]]) {
			right[stack[len(stack)-1]] = i
			stack = stack[:len(stack)-1]
		}
		if len(stack) > 0 {
			left[i] = stack[len(stack)-1] // the run's first stays at the bottom
		}
		stack = append(stack, i)
	}
	for _, i := range stack {
		right[i] = len(all)
	}
	out := []int{0}
	for i := 1; i < len(all); i++ {
		if right[i]-left[i] > FanMax {
			out = append(out, i)
		}
	}
	return out
}
