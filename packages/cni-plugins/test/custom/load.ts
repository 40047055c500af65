// A process that has plugins, one of which loops: prints the ids of their processes.
import { readFileSync } from 'node:fs'
import { loadPlugins } from '../../src/index.ts'
import type { Host } from '../../src/types.ts'

const [dir] = process.argv.slice(2)
const { plugins } = await loadPlugins({ dir, log: { warn: () => undefined } })
const faulty = plugins.find(({ name }) => name === 'faulty')
const network = { containerId: 'a', netns: '/nonexistent', ifName: 'eth0', args: {} }
const config = { type: 'faulty', name: 'net', cniVersion: '1.1.0', fault: 'loops' }
const host = { addressDir: '/nonexistent' } as Host
const call = faulty?.add({ network, config }, host, new AbortController().signal)
console.log(readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim())
await call
