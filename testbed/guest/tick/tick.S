# The tiny guest: a kernel of 2 KiB that stays in real mode.
#
# It implements the 16-bit half of the Linux boot protocol (version 2.02), so that
# QEMU's -kernel loads it, and needs no disk, network or initrd. It prints
# "TICK boot", then "TICK 00000001" and so on about once a second on COM1. A live
# migration continues the count, a restart begins anew. It idles in HLT, woken by
# the BIOS timer 18.2 times a second.
#
# The ACPI power button ends it with "TICK powerdown". Bytes on COM1:
#   q  power off    r  reset    h  hang: no count, no power button
#   i  ignore the power button, or heed it again
#
# Registers: QEMU's "pc" machine, ACPI power management block at port 0x600.

        .set    UART, 0x3f8
        .set    PM_STATUS, 0x600
        .set    PM_ENABLE, 0x602
        .set    PM_CONTROL, 0x604
        .set    POWER_BUTTON, 0x100
        .set    TICKS_PER_SECOND, 18

        .code16
        .text
        .globl  _start
        .set    _start, 0
        # --- boot sector with the setup header (offsets of the boot protocol) ---
        .org    0x1f1
        .byte   1                       # setup sectors after this one
        .word   0
        .long   0x20                    # size of the "kernel" below, in 16 bytes
        .word   0, 0, 0
        .word   0xaa55
        jmp     main                    # 0x200: entry
        .org    0x202
        .ascii  "HdrS"
        .word   0x0202
        .long   0
        .word   0, 0
        .byte   0
        .byte   1                       # the kernel part is loaded high
        .word   0
        .long   0x100000, 0, 0, 0
        .word   0xfe00                  # end of the heap
        .word   0
        .long   0, 0x7fffffff

        # --- the program: the loader leaves DS at the boot sector, so that data is
        # --- addressed by its offset in the file; jumps are relative
main:   cld
        call    uart_setup
        call    button_setup
        movw    $text_boot, %si
        call    print

second: movw    $TICKS_PER_SECOND, %cx
wait:   sti
        hlt
        call    console
        call    button
        loop    wait
        call    count
        movw    $text_tick, %si
        call    print
        jmp     second

        # 115200 baud, 8 data bits, no parity, one stop bit; no interrupts
uart_setup:
        movw    $UART + 3, %dx
        movb    $0x80, %al
        outb    %al, %dx
        movw    $UART, %dx
        movb    $1, %al
        outb    %al, %dx
        movw    $UART + 1, %dx
        movb    $0, %al
        outb    %al, %dx
        movw    $UART + 3, %dx
        movb    $3, %al
        outb    %al, %dx
        ret

        # The button has to be enabled or QEMU drops the request; its interrupt
        # (9, first line of the second controller) stays masked: it is polled.
button_setup:
        inb     $0xa1, %al
        orb     $0x02, %al
        outb    %al, $0xa1
        movw    $PM_ENABLE, %dx
        inw     %dx, %ax
        orw     $POWER_BUTTON, %ax
        outw    %ax, %dx
        ret

button: movw    $PM_STATUS, %dx
        inw     %dx, %ax
        testw   $POWER_BUTTON, %ax
        jz      1f
        movw    $POWER_BUTTON, %ax      # writing a one clears the bit
        outw    %ax, %dx
        cmpb    $0, deaf
        je      power_off
1:      ret

console:
        movw    $UART + 5, %dx
        inb     %dx, %al
        testb   $1, %al                 # a byte has come
        jz      1f
        movw    $UART, %dx
        inb     %dx, %al
        cmpb    $'q', %al
        je      power_off
        cmpb    $'r', %al
        je      reset
        cmpb    $'h', %al
        je      hang
        cmpb    $'i', %al
        jne     1f
        xorb    $1, deaf
1:      ret

        # add one to the decimal digits, right to left
count:  movw    $digits_end - 1, %bx
1:      incb    (%bx)
        cmpb    $'9', (%bx)
        jbe     2f
        movb    $'0', (%bx)
        decw    %bx
        cmpw    $digits, %bx
        jae     1b
2:      ret

power_off:
        movw    $text_off, %si
        call    print
        movw    $PM_CONTROL, %dx
        movw    $0x2000, %ax            # sleep enable, type 0: soft off
        outw    %ax, %dx
hang:   cli
1:      hlt
        jmp     1b

reset:  movw    $0xcf9, %dx             # hard reset through the chip set
        movb    $0x06, %al
        outb    %al, %dx
        jmp     hang

        # print the text at SI up to its zero byte
print:  lodsb
        testb   %al, %al
        jz      2f
        movb    %al, %ah
        movw    $UART + 5, %dx
1:      inb     %dx, %al
        testb   $0x20, %al              # room for a byte
        jz      1b
        movw    $UART, %dx
        movb    %ah, %al
        outb    %al, %dx
        jmp     print
2:      ret

text_boot:      .asciz  "TICK boot\r\n"
text_off:       .asciz  "TICK powerdown\r\n"
text_tick:      .ascii  "TICK "
digits:         .ascii  "00000000"
digits_end:     .asciz  "\r\n"
deaf:           .byte   0
        .org    0x600                   # the setup part, and a sector of kernel that never runs
