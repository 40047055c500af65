// Which ids of the node user namespaces may have, where the machine says so: those of its user `kubelet`.
import { readFile } from 'node:fs/promises'
import { finished, LinuxError, startProgram } from '@nodelet/linux'
import type { Logger } from '../log.ts'

/** Ids from the first on. */
export interface IdRange {
  first: number
  count: number
}

const user = 'kubelet'

export interface SubordinateIdOptions {
  /** So many pods can have ids. */
  maxPods: number
  idsPerPod: number
  log: Logger
  /** Default `getsubids` of the PATH, which reads `/etc/subuid` and `/etc/subgid`, or whatever the machine has instead. */
  program?: string
  /** Default `/etc/passwd`. */
  passwd?: string
}

/**
 * The ids of the user `kubelet`, users and groups alike; without such a user or program, the blocks from the second on.
 * @throws Error when they are none, differ, or are not whole blocks for all pods
 */
export async function subordinateIds(options: SubordinateIdOptions): Promise<IdRange> {
  const { maxPods, idsPerPod, log, program = 'getsubids', passwd = '/etc/passwd' } = options
  const usual = { first: idsPerPod, count: maxPods * idsPerPod }
  if (!/^kubelet:/m.test(await readFile(passwd, 'utf8'))) return usual
  let users: string
  try {
    users = await run(program, user)
  } catch (error) {
    if (!(error instanceof LinuxError) || error.code !== 'ENOENT') throw error
    log.warn({ user }, 'getsubids (package uidmap) is not installed: user namespaces have the usual ids')
    return usual
  }
  const groups = await run(program, '-g', user)
  if (users !== groups)
    throw new Error(`subordinate ids of user ${user}: of users ${users}, of groups ${groups}: must be the same`)
  return checked(users, maxPods, idsPerPod)
}

function checked(text: string, maxPods: number, idsPerPod: number): IdRange {
  const refuse = (why: string): never => {
    throw new Error(`subordinate ids of user ${user} are ${JSON.stringify(text)}: ${why}`)
  }
  const [, from = '', length = ''] = /^0: kubelet (\d+) (\d+)$/.exec(text) ?? refuse('must be one range')
  const [first, count] = [Number(from), Number(length)]
  if (first < idsPerPod || first % idsPerPod !== 0) refuse(`the first must be a multiple of ${idsPerPod}, and not 0`)
  if (count % idsPerPod !== 0) refuse(`must be a multiple of ${idsPerPod}`)
  if (count < maxPods * idsPerPod) refuse(`too few for ${maxPods} pods of ${idsPerPod} each`)
  return { first, count }
}

async function run(program: string, ...args: string[]): Promise<string> {
  const child = startProgram(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const { code, stdout, stderr } = await finished(child)
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: exit code ${code}: ${stderr.trim()}`)
  return stdout.trim()
}
