// The same volumes on a whole node: kubelet and runtime, a process apart; the drivers are in this one.
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { csiNodes, pods, startInformer } from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import type { NodeConfigInput } from '@nodelet/node-agent'
import { startPart } from '../kubelet/peers.ts'
import { remove, run } from '../kubelet/pods.ts'
import { changed } from './manager.ts'
import { makeObjects, serveDrivers } from './cluster.ts'
import { kinds } from './kinds.ts'

export interface NodeFigures {
  /** From the request until the API says Running. */
  kinds: { name: string; ms: number[] }[]
  /** From the request until the container's file is another. */
  changes: number[]
}

interface NodeOptions {
  folder: string
  config: NodeConfigInput & { root: string }
  admin: KubeClient
  image: string
  /** Pods of each kind. */
  count: number
  changes: number
  signal: AbortSignal
}

export async function measureNode({
  folder,
  config,
  admin,
  image,
  count,
  changes,
  signal,
}: NodeOptions): Promise<NodeFigures> {
  const host = join(folder, 'host')
  mkdirSync(host, { recursive: true })
  await using node = await startPart(config)
  await using drivers = await serveDrivers(folder, join(config.root, 'kubelet'), true)
  await node.ask({ what: 'image', folder: join(folder, 'image'), image })
  const names = Object.keys(drivers.sockets)
  while (!(await knownDrivers(admin)).isSupersetOf(new Set(names))) await sleep(20, undefined, { signal })
  await using informer = startInformer(admin, pods, { namespace: 'default' })
  await informer.synced
  const api = { client: admin, informer, image }
  const figures: NodeFigures = { kinds: kinds.map(({ name }) => ({ name, ms: [] })), changes: [] }
  for (let round = -1; round < count; round += 1) {
    for (const [index, kind] of kinds.entries()) {
      signal.throwIfAborted()
      const id = `node-${index}-${round + 1}`
      // The first is for warmth; one is enough for it.
      if (round < 0 && index > 0) continue
      await makeObjects(admin, id)
      const ms = await run(api, [id], { volumes: kind.volume ? [kind.volume(id, host)] : [] })
      if (round >= 0) figures.kinds[index]?.ms.push(...ms)
      if (round === count - 1 && kind.name === 'configMap') {
        const path = rootWith('v/key')
        for (let at = 0; at < changes; at += 1) figures.changes.push(await changed(admin, id, path, signal))
      }
      await remove(api, [id])
    }
  }
  return figures
}

async function knownDrivers(client: KubeClient): Promise<Set<string>> {
  const { items } = await client.list(csiNodes)
  return new Set(items.flatMap(({ spec }) => spec.drivers.map(({ name }) => name)))
}

/** As a process of the container sees it. */
function rootWith(path: string): string {
  const found = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => `/proc/${pid}/root/${path}`)
    .find((each) => existsSync(each))
  if (found === undefined) throw new Error(`no process has /${path}`)
  return found
}
