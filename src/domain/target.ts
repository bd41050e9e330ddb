/** What a job may be aimed at: the machine or the worker with this id, or any worker with this label. */

export type TargetName =
  { readonly machine: string } | { readonly worker: string } | { readonly label: string }

/** `machine:ID`, `worker:ID` and `label:NAME`, as the database has them; anything else is a label. */
export function parseTarget(text: string): TargetName {
  const [, kind = '', name = ''] = /^(machine|worker|label):(.+)$/s.exec(text) ?? []
  if (kind === 'machine') return { machine: name }
  if (kind === 'worker') return { worker: name }
  return { label: kind === 'label' ? name : text }
}

export function formatTarget(target: TargetName): string {
  const { machine, worker, label } = target as { readonly [kind: string]: string | undefined }
  if (machine !== undefined) return `machine:${machine}`
  return worker === undefined ? `label:${label}` : `worker:${worker}`
}
