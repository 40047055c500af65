// Two network namespaces of their own for a test.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inNamespace, openNetlink, pinNamespaces, unpinNamespace } from '../../src/index.ts'
import type { Netlink } from '../../src/index.ts'
import { execFileSync } from 'node:child_process'

export interface Networks extends Disposable {
  /** Where they are pinned. */
  host: string
  pod: string
  out: Netlink
  inside: Netlink
  /** Runs a program of iproute2 or the like in the host's namespace. */
  run(program: string, ...args: string[]): string
}

export function makeNetworks(): Networks {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-netlink-'))
  const [host, pod] = [join(folder, 'host'), join(folder, 'pod')]
  const open: Netlink[] = []
  const remove = (): void => {
    for (const netlink of open) netlink[Symbol.dispose]()
    for (const path of [host, pod]) unpinNamespace(path)
    rmSync(folder, { recursive: true })
  }
  try {
    for (const path of [host, pod]) {
      pinNamespaces({ paths: { net: path } })
      open.push(openNetlink({ netns: path }))
    }
    const [out, inside] = open as [Netlink, Netlink]
    const run = (program: string, ...args: string[]): string =>
      inNamespace('net', host, () => execFileSync(program, args, { encoding: 'utf8' }))
    return { host, pod, out, inside, run, [Symbol.dispose]: remove }
  } catch (error) {
    remove()
    throw error
  }
}
