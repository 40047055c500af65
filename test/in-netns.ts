// Runs a program in a network and a mount namespace of its own, with an address like a real machine's, so that the
// rules, links and mounts of this machine stay as they are.
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unpinNamespace, pinNamespaces } from '@nodelet/linux'

/** A machine of its own as far as the network goes. */
export interface TestMachine extends Disposable {
  /** Programs see its network and, with `mounts`, their own copy of the mounts. */
  spawn(program: string, args: readonly string[], options?: SpawnOptions): ChildProcess
  run(program: string, ...args: string[]): string
  readonly folder: string
  readonly address: string
}

export function makeMachine(address = '192.0.2.10'): TestMachine {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-machine-'))
  const net = join(folder, 'net')
  pinNamespaces({ paths: { net } })
  const enter = (program: string, args: readonly string[]): string[] => [`--net=${net}`, '--', program, ...args]
  const run = (program: string, ...args: string[]): string =>
    execFileSync('nsenter', enter(program, args), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  run('ip', 'link', 'set', 'lo', 'up')
  // A network that leads nowhere: a default route makes it look like a machine's.
  run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'uplink')
  run('ip', 'address', 'add', `${address}/24`, 'dev', 'eth0')
  run('ip', 'link', 'set', 'eth0', 'up')
  run('ip', 'link', 'set', 'uplink', 'up')
  run('ip', 'route', 'add', 'default', 'via', '192.0.2.1')
  return {
    folder,
    address,
    run,
    spawn: (program, args, options = {}) => spawn('nsenter', enter(program, args), options),
    [Symbol.dispose]: () => {
      unpinNamespace(net)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Writes a file below the machine's folder and answers its path. */
export function writeIn(machine: TestMachine, name: string, content: string): string {
  const path = join(machine.folder, name)
  writeFileSync(path, content)
  return path
}
