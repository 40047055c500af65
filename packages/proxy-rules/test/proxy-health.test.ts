// When the proxy calls itself healthy.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { healthEndpoints } from '../src/health/endpoints.ts'
import { proxyHealth, type FamilyWork } from '../src/health/proxy-health.ts'
import { createProxyMetrics } from '../src/metrics/proxy-metrics.ts'

const now = Date.parse('2026-01-02T03:04:05.670Z')
const work = (rest: Partial<FamilyWork>): FamilyWork => ({
  family: 'IPv4',
  lastUpdated: now - 90_000,
  waitingSince: undefined,
  ...rest,
})

test.each([
  ['nothing waits', [work({})], undefined, 200, true],
  ['a change waits for less than a minute', [work({ waitingSince: now - 59_999 })], undefined, 200, true],
  ['a change waits for a minute', [work({ waitingSince: now - 60_000 })], undefined, 503, false],
  ['one family is late', [work({}), work({ family: 'IPv6', waitingSince: 0 })], undefined, 503, false],
  ['the node may be sent to', [work({})], true, 200, true],
  ['the node goes', [work({})], false, 503, true],
])('%s', (_, families, eligible, code, healthy) => {
  const answer = proxyHealth(families, now, 60_000, eligible)
  expect([answer.code, JSON.parse(answer.body).healthy]).toEqual([code, healthy])
})

test('the body is one line, in the order of kube-proxy', () => {
  // The order of the families is that of their names, whichever is the node's first.
  const late = [work({ family: 'IPv6', lastUpdated: undefined }), work({ waitingSince: 0 })]
  expect(proxyHealth(late, now, 60_000, true).body).toBe(
    '{"lastUpdated":"2026-01-02T03:02:35.67Z","currentTime":"2026-01-02T03:04:05.67Z","nodeEligible":true,"healthy":false,' +
      '"status":{"IPv4":{"lastUpdated":"2026-01-02T03:02:35.67Z","healthy":false},' +
      '"IPv6":{"lastUpdated":"0001-01-01T00:00:00Z","healthy":true}}}',
  )
  expect(proxyHealth([work({})], now, 60_000).body).toBe(
    '{"lastUpdated":"2026-01-02T03:04:05.67Z","currentTime":"2026-01-02T03:04:05.67Z","healthy":true,' +
      '"status":{"IPv4":{"lastUpdated":"2026-01-02T03:02:35.67Z","healthy":true}}}',
  )
})

test('who serves no Service yet is alive, and not ready', async () => {
  let isLoaded = false
  const metrics = createProxyMetrics('iptables', () => [])
  const server = createServer(
    healthEndpoints({
      work: () => [work({})],
      isLoaded: () => isLoaded,
      nodeEligible: () => true,
      timeoutMs: 60_000,
      metrics,
    }),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const code = async (path: string): Promise<number> => (await fetch(`http://127.0.0.1:${port}${path}`)).status
  try {
    expect([await code('/livez'), await code('/readyz')]).toEqual([200, 503])
    isLoaded = true
    expect([await code('/livez'), await code('/readyz')]).toEqual([200, 200])
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
