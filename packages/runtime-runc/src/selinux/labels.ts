// SELinux labels, USER:ROLE:TYPE:LEVEL. Pure.
import type { SELinuxOption } from '@nodelet/cri-api'
import { SpecError } from '../spec/errors.ts'

/** Of a pod or a container: what its processes are, and what its files are. */
export interface SelinuxLabels {
  process: string
  mount: string
}

/** Of a policy. */
export interface PolicyLabels extends SelinuxLabels {
  /** Of files that containers of all pods read and run, and none writes. */
  readOnly: string
}

interface Label {
  user: string
  role: string
  type: string
  level: string
}

const namePattern = /^[A-Za-z0-9_.-]+$/
/** As containerd takes it: sensitivities, then categories and ranges of them. */
const levelPattern = /^s\d+(-s\d+)?(:c\d{1,4}(\.c\d{1,4})?(,c\d{1,4}(\.c\d{1,4})?)*)?$/
/** Categories of a policy: c0 to c1023. */
const categories = 1024

/** @throws SpecError when it has not four parts */
export function parseLabel(text: string): Label {
  const [user, role, type, ...level] = text.split(':')
  if (!user || !role || !type || level.length === 0) {
    throw new SpecError(`SELinux label ${JSON.stringify(text)}: must be USER:ROLE:TYPE:LEVEL`)
  }
  return { user, role, type, level: level.join(':') }
}

const print = ({ user, role, type, level }: Label): string => [user, role, type, level].join(':')

/**
 * Whether they can be parts of a label.
 *
 * @throws SpecError naming the field of `selinux_options` and its value
 */
export function checkSelinuxOptions(options: SELinuxOption | undefined): void {
  for (const key of ['user', 'role', 'type'] as const) {
    const value = options?.[key]
    if (value && !namePattern.test(value)) {
      throw new SpecError(`selinux_options.${key} ${JSON.stringify(value)}: letters, digits, "_", "." and "-"`)
    }
  }
  if (options?.level && !levelPattern.test(options.level)) {
    throw new SpecError(`the format of 'level' ${JSON.stringify(options.level)} is not correct: such as s0:c1,c2`)
  }
}

/**
 * Labels with what is asked for laid over them: files take the user and the level only, for their type is theirs.
 *
 * @throws SpecError naming the field of `selinux_options` and its value
 */
export function labelsFor(base: SelinuxLabels, options: SELinuxOption | undefined): SelinuxLabels {
  if (!options) return base
  checkSelinuxOptions(options)
  const asked = Object.fromEntries(
    (['user', 'role', 'type', 'level'] as const).flatMap((key) => (options[key] ? [[key, options[key]]] : [])),
  ) as Partial<Label>
  const { user, level } = asked
  const ofFiles = { ...(user !== undefined && { user }), ...(level !== undefined && { level }) }
  return {
    process: print({ ...parseLabel(base.process), ...asked }),
    mount: print({ ...parseLabel(base.mount), ...ofFiles }),
  }
}

/** The same labels at another level. */
export const atLevel = (labels: SelinuxLabels, level: string): SelinuxLabels => ({
  process: print({ ...parseLabel(labels.process), level }),
  mount: print({ ...parseLabel(labels.mount), level }),
})

export const levelOf = (labels: SelinuxLabels): string => parseLabel(labels.mount).level

/**
 * A level that no other pod has: two categories, which keep pods from each other's files.
 *
 * @param random below its argument
 * @throws SpecError when all pairs are taken
 */
export function freeLevel(isTaken: (level: string) => boolean, random: (below: number) => number): string {
  const pairs = (categories * (categories - 1)) / 2
  const first = random(pairs)
  for (let step = 0; step < pairs; step += 1) {
    const level = levelAt((first + step) % pairs)
    if (!isTaken(level)) return level
  }
  throw new SpecError('every pair of SELinux categories is some pod’s: remove pods')
}

/** Pairs in the order of their higher category. */
function levelAt(index: number): string {
  const higher = Math.floor((1 + Math.sqrt(1 + 8 * index)) / 2)
  return `s0:c${index - (higher * (higher - 1)) / 2},c${higher}`
}
