/**
 * The fields of /proc/PID/stat (proc(5)) from the third on: the state, the parent, the process group, … The second, the name in
 * parentheses, may itself contain spaces and parentheses, so what counts begins after the last one.
 */
export function statFields(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}
