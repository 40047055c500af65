import { expect, test } from 'vitest'
import { makeNetworks } from './networks.ts'

test('a table of nftables is there once it was made, in its family', async () => {
  using net = makeNetworks()
  const { nftables } = net.out
  expect(await nftables.hasTable('inet', 'pods')).toBe(false)
  net.run('nft', 'add', 'table', 'inet', 'pods')
  net.run('nft', 'add', 'table', 'bridge', 'nat')
  expect(await nftables.hasTable('inet', 'pods')).toBe(true)
  expect(await nftables.hasTable('bridge', 'nat')).toBe(true)
  expect(await nftables.hasTable('ip', 'pods')).toBe(false)
  expect(await net.inside.nftables.hasTable('inet', 'pods')).toBe(false)
  net.run('nft', 'delete', 'table', 'inet', 'pods')
  expect(await nftables.hasTable('inet', 'pods')).toBe(false)
})
