// Lists and watches of a cluster of equal Services, as an API server answers them. Forked by api.ts.
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { KubeObject } from '@nodelet/kube-client'
import type { Change } from './api.ts'
import { servicesOf, sliceOf, slicesOf, type Size } from './cluster.ts'

const size = JSON.parse(process.argv[2] ?? '') as Size
const watchers = new Set<ServerResponse>()
let version = 1

/** With what real objects have besides: a third of their length is about who wrote them. */
function dressed(object: KubeObject, manager: string): KubeObject {
  const fields = { 'f:metadata': { 'f:labels': { '.': {}, 'f:app': {}, 'f:tier': {} } }, 'f:spec': { 'f:ports': {} } }
  // The same object keeps it when it changes.
  const uid = `00000000-0000-4000-8000-${Buffer.from(object.metadata?.name ?? '')
    .toString('hex')
    .padStart(12, '0')
    .slice(-12)}`
  const time = '2026-01-01T00:00:00Z'
  return {
    ...object,
    metadata: {
      ...object.metadata,
      uid,
      resourceVersion: String(version),
      creationTimestamp: time as never,
      labels: { ...object.metadata?.labels, app: 'benchmark', tier: 'backend' },
      managedFields: [
        {
          manager,
          operation: 'Update',
          apiVersion: 'v1',
          time: time as never,
          fieldsType: 'FieldsV1',
          fieldsV1: fields,
        },
      ],
    },
  }
}

const lists: Readonly<Record<string, readonly string[]>> = {
  services: servicesOf(size).map((service) => JSON.stringify(dressed(service, 'kubectl'))),
  endpointslices: slicesOf(size).map((slice) => JSON.stringify(dressed(slice, 'kube-controller-manager'))),
}

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://server')
  const plural = pathname.split('/').at(-1) ?? ''
  response.writeHead(200, { 'content-type': 'application/json' })
  if (searchParams.get('watch') === 'true') {
    response.flushHeaders()
    if (plural === 'endpointslices') watchers.add(response.on('close', () => watchers.delete(response)))
    return
  }
  const items = lists[plural] ?? []
  const start = Number(searchParams.get('continue') ?? 0)
  const end = start + (Number(searchParams.get('limit')) || items.length)
  const metadata = { resourceVersion: '1', ...(end < items.length && { continue: String(end) }) }
  response.end(`{"kind":"List","metadata":${JSON.stringify(metadata)},"items":[${items.slice(start, end).join(',')}]}`)
})
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))

process.on('message', ({ index, count, unused }: Change) => {
  for (let at = 0; at < count; at += 1) {
    version += 1
    const slice = sliceOf((index + at) % size.services, size, unused + at)
    const line = `${JSON.stringify({ type: 'MODIFIED', object: dressed(slice, 'kube-controller-manager') })}\n`
    for (const watcher of watchers) watcher.write(line)
  }
})
process.on('disconnect', () => process.exit())
