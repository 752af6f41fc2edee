// Package diskiotest gives tests small disks that can be filled (Linux, as root).
package diskiotest
