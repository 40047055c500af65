import { expect, test } from 'vitest'
import { makeNetworks } from './networks.ts'

test('rate limits to a link, and from it by way of an ifb, as tc shows them', async () => {
  using net = makeNetworks()
  const { out, run } = net
  await out.links.add({ kind: 'veth', name: 'v0', up: true, peer: { name: 'p0' } })
  const ifb = await out.links.add({ kind: 'ifb', name: 'ifb9', up: true })
  const index = ifb.index
  const slow = { kind: 'tbf', rate: 125_000, burst: 20_000, limit: 23_125 } as const
  const fast = { kind: 'tbf', rate: 10_000_000_000, burst: 1_000_000_000, limit: 1_250_000_000 } as const
  await out.qdiscs.add('v0', { ...slow, handle: 1 })
  await out.qdiscs.add('v0', { kind: 'ingress' })
  await out.qdiscs.addRedirect('v0', { to: index })
  await out.qdiscs.add(index, { ...fast, handle: 1 })
  expect(run('tc', 'qdisc', 'show', 'dev', 'v0')).toMatch(/qdisc tbf 1: root .*rate 1Mbit burst 20000b lat 25ms/)
  expect(run('tc', 'qdisc', 'show', 'dev', 'ifb9')).toMatch(/qdisc tbf 1: root .*rate 80Gbit .*lat 25ms/)
  expect(run('tc', 'filter', 'show', 'dev', 'v0', 'ingress')).toMatch(
    /protocol all pref 1 u32 .*[\s\S]*match 00000000\/00000000 at 0[\s\S]*mirred \(Egress Redirect to device ifb9\) stolen/,
  )
  const qdiscs = await out.qdiscs.list('v0')
  expect(qdiscs).toEqual([
    { index: expect.any(Number), kind: 'tbf', handle: 1, parent: 'root', details: slow },
    { index: expect.any(Number), kind: 'ingress', handle: 0xffff, parent: 'ingress', details: { kind: 'ingress' } },
  ])
  // The kernel keeps the burst as a time.
  expect((await out.qdiscs.list(index))[0]?.details).toEqual({ ...fast, burst: expect.closeTo(fast.burst, -4) })
  expect(await out.qdiscs.redirects('v0')).toEqual([{ index: qdiscs[0]?.index, priority: 1, to: index }])
  await expect(out.qdiscs.add('v0', { kind: 'ingress' })).rejects.toThrow(/^EEXIST: add qdisc ingress of link v0/)
  await out.qdiscs.add('v0', { ...slow, rate: 250_000, handle: 1 }, 'replace')
  expect(run('tc', 'qdisc', 'show', 'dev', 'v0')).toContain('rate 2Mbit')
  await out.qdiscs.deleteRedirect('v0')
  expect(await out.qdiscs.redirects('v0')).toEqual([])
  await out.qdiscs.delete('v0', 'ingress')
  await out.qdiscs.delete('v0', 'root')
  expect((await out.qdiscs.list('v0')).map(({ kind }) => kind)).not.toContain('tbf')
  await out.qdiscs.add('v0', { kind: 'clsact' })
  expect((await out.qdiscs.list('v0')).map(({ kind }) => kind)).toContain('clsact')
})
