// Which objects a list call asks for.
import { CriError } from '@nodelet/cri-api'
import type { ContainerFilter, ContainerState, PodSandboxFilter, PodSandboxState } from '@nodelet/cri-api'

/** What filters look at. */
export interface Listed<State> {
  id: string
  state: State
  labels: Record<string, string>
}

/**
 * The object of an ID or of its unique beginning.
 *
 * @throws CriError UNKNOWN for a beginning of several: callers must not take them for gone.
 */
export function findById<T extends { id: string }>(kind: string, objects: readonly T[], id: string): T | undefined {
  if (!id) return undefined
  const found = objects.filter((object) => object.id.startsWith(id))
  const exact = found.find((object) => object.id === id)
  if (exact || found.length < 2) return exact ?? found[0]
  throw new CriError('UNKNOWN', `${kind} ID "${id}" is the beginning of ${found.length}: give more of it`)
}

/** All conditions hold at once. An ID that is the beginning of several or none matches nothing. */
export function filterSandboxes<T extends Listed<PodSandboxState>>(
  all: readonly T[],
  filter: PodSandboxFilter | undefined,
): T[] {
  if (!filter) return [...all]
  const wanted = filter.id ? uniqueId(all, filter.id) : undefined
  return all.filter(
    ({ id, state, labels }) =>
      (!filter.id || id === wanted) &&
      (!filter.state || state === filter.state.state) &&
      hasLabels(labels, filter.labelSelector),
  )
}

/** As `filterSandboxes`. `sandboxes` are those whose IDs may be cut short. */
export function filterContainers<T extends Listed<ContainerState> & { podSandboxId: string }>(
  all: readonly T[],
  filter: Partial<ContainerFilter> | undefined,
  sandboxes: readonly { id: string }[],
): T[] {
  if (!filter) return [...all]
  const wanted = filter.id ? uniqueId(all, filter.id) : undefined
  const sandbox = filter.podSandboxId ? uniqueId(sandboxes, filter.podSandboxId) : undefined
  return all.filter(
    ({ id, podSandboxId, state, labels }) =>
      (!filter.id || id === wanted) &&
      (!filter.podSandboxId || podSandboxId === sandbox) &&
      (!filter.state || state === filter.state.state) &&
      hasLabels(labels, filter.labelSelector),
  )
}

function uniqueId(objects: readonly { id: string }[], beginning: string): string | undefined {
  const found = objects.filter(({ id }) => id.startsWith(beginning))
  return found.length === 1 ? found[0]?.id : undefined
}

function hasLabels(labels: Record<string, string>, wanted: Record<string, string> | undefined): boolean {
  return Object.entries(wanted ?? {}).every(([key, value]) => labels[key] === value)
}
