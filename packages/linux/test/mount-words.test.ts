import { expect, test } from 'vitest'
import { mountWords } from '../src/mount-words.ts'

test.each<[string, number, string]>([
  ['', 0, ''],
  ['defaults', 0, ''],
  ['ro,nosuid,size=1m,mode=0700', 0x3, 'size=1m,mode=0700'],
  ['noatime,nodiratime,sync,dirsync,lazytime', 0x200_0c90, ''],
  ['ro,rw', 0, ''],
  ['rw,ro', 1, ''],
  ['ro,nodev,defaults', 0, ''],
  ['defaults,ro', 1, ''],
  ['noexec,exec,suid,dev,async', 0, ''],
  ['_netdev,nofail,x-systemd.automount,user,comment=x,discard', 0, 'discard'],
  ['bind,remount,ro', 0x1021, ''],
  ['rprivate', 0x4_4000, ''],
  ['context="system_u:object_r:x_t:s0:c1,c2"', 0, 'context="system_u:object_r:x_t:s0:c1,c2"'],
])('%s', (text, flags, data) => {
  const words = text.startsWith('context') ? [text] : text.split(',')
  expect(mountWords(words)).toEqual({ flags, data })
})
