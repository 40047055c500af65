// A machine of its own: a pinned namespace that stands for the host, and pods.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inNamespace, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { createCni } from '../src/index.ts'
import type { Cni, CniOptions } from '../src/index.ts'

export interface TestMachine extends Disposable {
  folder: string
  host: string
  cni: Cni
  /** A new pod's namespace. */
  pod(name: string): string
  /** Runs a program in a namespace. */
  run(netns: string, ...command: string[]): string
  open(options?: Partial<CniOptions>): Cni
}

export function makeMachine(list: object): TestMachine {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-cni-'))
  const host = join(folder, 'host')
  const pinned = [host]
  pinNamespaces({ paths: { net: host } })
  mkdirSync(join(folder, 'net.d'))
  mkdirSync(join(folder, 'bin'))
  writeFileSync(join(folder, 'net.d/10-test.conflist'), JSON.stringify(list))
  const opened: Cni[] = []
  const open = (options: Partial<CniOptions> = {}): Cni => {
    const cni = createCni({
      confDir: join(folder, 'net.d'),
      binDirs: [join(folder, 'bin')],
      cacheDir: join(folder, 'cache'),
      hostNetns: host,
      ...options,
    })
    opened.push(cni)
    return cni
  }
  const run = (netns: string, ...[program = '', ...args]: string[]): string =>
    inNamespace('net', netns, () =>
      execFileSync(program, args, { encoding: 'utf8', timeout: 10_000, stdio: ['ignore', 'pipe', 'pipe'] }),
    )
  run(host, 'ip', 'link', 'set', 'lo', 'up')
  return {
    folder,
    host,
    cni: open(),
    open,
    run,
    pod: (name) => {
      const path = join(folder, name)
      pinNamespaces({ paths: { net: path } })
      pinned.push(path)
      return path
    },
    [Symbol.dispose]: () => {
      for (const cni of opened) cni.close()
      for (const path of pinned) unpinNamespace(path)
      rmSync(folder, { recursive: true })
    },
  }
}
